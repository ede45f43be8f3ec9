"""What watches jobs that another task started."""
