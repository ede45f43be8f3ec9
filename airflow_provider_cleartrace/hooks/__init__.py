"""An Airflow connection becomes a ClearTrace client."""
