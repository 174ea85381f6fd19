"""Runs tfrecords_tools.build with two images per file, so that few make many files."""

from kerasseg import cli
from tfrecords_tools import build
from tfrecords_tools.writing import planning

if __name__ == "__main__":
    planning.SHARD_IMAGES = 2
    cli.run(build.main)
