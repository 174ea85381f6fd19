"""The pictures of a run, dealt to its workers and devices."""

import tensorflow as tf

from kerasseg import pipeline


def batches(run):
    """Reads on where a run stands.

    Args:
        run: `run.Run`.

    Returns:
        An endless iterator of batches, and the steps of an epoch.
    """
    recipe, repeats = run.recipe, run.recipe.repeats()
    order = pipeline.oversample(run.reader, *repeats) if repeats else None
    pictures = len(run.reader.split) if order is None else len(order)

    def per_worker(context):
        return pipeline.training_dataset(
            run.reader,
            run.augmentation,
            batch_size=context.get_per_replica_batch_size(recipe.batch_size),
            seed=run.seed,
            start=run.step * recipe.batch_size,
            order=order,
            weight_map_fn=run.objective.weigh,
            shard=pipeline.InputShard(
                recipe.batch_size,
                context.input_pipeline_id,
                context.num_input_pipelines,
            ),
        )

    if run.team.is_asynchronous:  # Batches are read here and sent to who is free.
        dataset = per_worker(tf.distribute.InputContext())
    else:
        dataset = run.strategy.distribute_datasets_from_function(per_worker)
    return iter(dataset), pictures / recipe.batch_size
