ALTER TABLE `tasks` RENAME COLUMN "title" TO "subject";--> statement-breakpoint
ALTER TABLE `teams` ADD `plan` text DEFAULT 'free' NOT NULL;--> statement-breakpoint
CREATE INDEX `projects_team` ON `projects` (`team_id`);