"""URIs in, rows and files out: local paths and ``s3://``; knows neither Airflow nor the client."""

import os

# Arrow reads this once, when it is first imported, and every import of it comes after this package's. Its own
# choice, mimalloc, keeps some 17 megabytes more of what an export has let go.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
