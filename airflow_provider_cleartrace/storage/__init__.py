"""URIs in, rows and files out: local paths and ``s3://``; knows neither Airflow nor the client."""
