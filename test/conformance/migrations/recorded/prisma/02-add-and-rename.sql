-- RedefineTables
PRAGMA defer_foreign_keys=ON;
PRAGMA foreign_keys=OFF;
CREATE TABLE "new_teams" (
    "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "name" TEXT,
    "plan" TEXT NOT NULL DEFAULT 'free'
);
INSERT INTO "new_teams" ("id", "name") SELECT "id", "name" FROM "teams";
DROP TABLE "teams";
ALTER TABLE "new_teams" RENAME TO "teams";
ALTER TABLE "tasks" RENAME COLUMN "title" TO "subject";
PRAGMA foreign_keys=ON;
PRAGMA defer_foreign_keys=OFF;

-- CreateIndex
CREATE INDEX "projects_team" ON "projects"("team_id");
