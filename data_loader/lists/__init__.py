"""List files: reading, writing, fetching, statistics (`python -m data_loader.lists`)."""
