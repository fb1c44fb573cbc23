"""What those who run the server look at: metrics, health, work on archives."""
