"""The external notification service: one small protocol (`transport`), and one module for each way to hand mail over."""
