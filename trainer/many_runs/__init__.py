"""Several runs by one command: asked for (`flags`), combined (`combinations`), trained (`loop`) where there is room."""
