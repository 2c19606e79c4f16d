"""What operators see of a server: `logs`, `metrics` (with the figures of `standing`) and `tracing`. It only watches."""
