"""Models as Airflow assets."""
