"""What training on few masks needs: crops, class tags and pairs of image and class."""
