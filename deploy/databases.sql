-- The databases of compose.yaml, created when the server starts for the first time.
CREATE DATABASE mlflow;
CREATE DATABASE mlflow_users;
CREATE DATABASE lists;
CREATE DATABASE airflow;
