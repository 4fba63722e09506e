"""`train.py --images FOLDER`: from a folder of somebody's own images to a trained, evaluated network, in words."""
