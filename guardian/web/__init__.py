"""What is served over HTTP: health, metrics, and the dashboard. It reads from its ports only."""
