-- RedefineTables
PRAGMA defer_foreign_keys=ON;
PRAGMA foreign_keys=OFF;
CREATE TABLE "new_projects" (
    "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "team_id" INTEGER NOT NULL,
    "name" TEXT,
    "budget" INTEGER NOT NULL DEFAULT 0,
    CONSTRAINT "projects_team_id_fkey" FOREIGN KEY ("team_id") REFERENCES "teams" ("id") ON DELETE CASCADE ON UPDATE CASCADE
);
INSERT INTO "new_projects" ("budget", "id", "name", "team_id") SELECT coalesce("budget", 0) AS "budget", "id", "name", "team_id" FROM "projects";
DROP TABLE "projects";
ALTER TABLE "new_projects" RENAME TO "projects";
CREATE INDEX "projects_team" ON "projects"("team_id");
PRAGMA foreign_keys=ON;
PRAGMA defer_foreign_keys=OFF;
