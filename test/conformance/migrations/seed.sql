WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
INSERT INTO teams(id, name) SELECT i, 'team ' || i FROM n;
INSERT INTO projects(id, team_id, name, budget, legacy) SELECT id, 1001 - id, 'project ' || id, id * 10, 'old' FROM teams;
INSERT INTO tasks(id, project_id, title) SELECT id, 1001 - id, 'task ' || id FROM projects;
