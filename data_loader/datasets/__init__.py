"""Where images come from: archives, files and folders, and which of them a long-tailed set holds."""
