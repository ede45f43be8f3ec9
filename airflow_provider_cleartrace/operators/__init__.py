"""The steps of a ClearTrace pipeline as Airflow tasks."""
