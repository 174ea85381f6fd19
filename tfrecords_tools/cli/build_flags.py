"""The flags of a build, which tfrecords_tools.build and kerasseg fit share."""

from absl import flags

ON_ERROR = flags.DEFINE_enum(
    "on_error",
    "stop",
    ["stop", "skip"],
    "What to do if an image or its label is invalid: stop, or skip the pair and list "
    "it in rejected.jsonl.",
)
NUM_DRAWN = flags.DEFINE_integer(
    "num_drawn",
    None,
    "Number of synthetic images to generate for each split of --dataset=shapes. "
    "Default: 400 for train, 100 for val.",
    lower_bound=1,
)
NAMES = ON_ERROR.name, NUM_DRAWN.name
