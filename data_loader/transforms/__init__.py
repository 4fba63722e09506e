"""What is done to images: crops, whole-batch transforms, augmentation policies, and their order."""
