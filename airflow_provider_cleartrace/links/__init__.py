"""Links from Airflow to what a task made."""
