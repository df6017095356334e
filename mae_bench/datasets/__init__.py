"""Dataset readers and layouts that the host libraries lack, and the embedded MiniWorld."""
