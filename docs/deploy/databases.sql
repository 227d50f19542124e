-- Dagster and MLflow both have a table `runs`: each needs a database of its own. Run once, as a superuser:
--   createuser --pwprompt ple && psql --file databases.sql postgres
-- The container of compose.yaml runs it when its volume is new.
CREATE DATABASE dagster OWNER ple;
CREATE DATABASE mlflow OWNER ple;
