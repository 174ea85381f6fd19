"""One training run: the state is created, restored, and trained."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from kerasseg import backbones, errors
from kerasseg.distribution import WorkerGroup
from kerasseg.pipeline import augment, class_statistics
from kerasseg.system import files, path_checks, runtime
from kerasseg.training import (
    batch_norm,
    compiling,
    feature_statistics,
    initial_weights,
    memory,
    own_loss,
    start_log,
    validation_loss,
)
from kerasseg.training.asynchronous import AsynchronousStep
from kerasseg.training.callback_state import Callbacks
from kerasseg.training.data import Data, check_kinds, training_batches
from kerasseg.training.few_labels import NO_METHOD, FewLabels, stages
from kerasseg.training.few_labels import method as few_labels_method
from kerasseg.training.logs import RunLog
from kerasseg.training.loop import steps_ahead, train_loop
from kerasseg.training.network import Network
from kerasseg.training.objective import LossSums
from kerasseg.training.optimizers import GroupedOptimizer
from kerasseg.training.recipe import Recipe
from kerasseg.training.signals import Interrupted
from kerasseg.training.state import History, LossScale, TrainState
from kerasseg.training.step import StepFunction
from kerasseg.training.validation import Validation
from kerasseg.workdir import fingerprint, flag_file, layout, metadata
from kerasseg.workdir.checkpoints import Checkpoints


def train(
    model_or_builder: keras.Model | Callable[[int], keras.Model],
    data: Data,
    recipe: Recipe,
    augmentation: augment.Augmentation,
    *,
    workdir: str | os.PathLike,
    seed: int = 1,
    strategy: tf.distribute.Strategy | None = None,
    initial_checkpoint: str | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    few_labels: FewLabels | None = None,
    loss: Callable | None = None,
) -> dict | None:
    """Trains a network until the recipe's last step; resumes the run of a workdir.

    Args:
        model_or_builder: A function of the number of classes to a Keras model, such as
            `network.Builder`, or a Keras model, which is trained itself. The model
            takes RGB images `[batch, height, width, 3]` from 0 to 255 and returns
            float32 logits `[batch, height, width, num_classes]`, or a dict with
            "logits".
        data: The records.
        recipe: The hyperparameters.
        augmentation: Augmentation of the training images.
        workdir: Folder of the run, see `workdir.layout`.
        seed: Seed of weights, order and augmentation.
        strategy: Strategy of the devices; None for one device.
        initial_checkpoint: A workdir or `.keras` file whose weights a new run starts
            from; layers of other shapes keep their own.
        callbacks: Keras callbacks, called at the start and end of training, of each
            step and of each validation, by each worker. The steps up to a validation
            are an epoch, whose logs are "loss", "learning_rate", and the scores as
            "val_mean_iou" and so on. For what is kept of their state, see
            `callback_state`.
        few_labels: How few labels are learned from; None for the labels of pixels only.
        loss: A loss of the user's own in place of the recipe's, see `own_loss.as_sums`.

    Returns:
        Metadata of the best model, see `metadata.read_metadata`; None on a worker that
        does not write.

    Raises:
        errors.UserError: The data are damaged or differ from those of the run, options
            do not fit, or the loss is not finite.
        OSError: A checkpoint or the best model could not be written; earlier ones are
            whole.
        Interrupted: SIGINT, SIGTERM or SIGHUP came, to any worker; the run can be
            resumed.
        distribution.WorkerLostError: Another worker or a parameter server failed; the
            run can be resumed.
    """
    path_checks.check_model(workdir, "workdir")
    few_labels = few_labels or FewLabels()
    stages.check(few_labels, recipe, augmentation, initial_checkpoint)
    strategy = strategy or tf.distribute.get_strategy()
    group = WorkerGroup(strategy)
    try:
        with dtype_policy(recipe), _result_folder(workdir, group) as folder:
            _train(
                model_or_builder,
                data,
                recipe,
                augmentation,
                workdir=os.fspath(workdir),
                folder=folder,
                seed=seed,
                strategy=strategy,
                group=group,
                initial_checkpoint=initial_checkpoint,
                callbacks=callbacks,
                few_labels=few_labels,
                loss=loss,
            )
            return metadata.read_metadata(folder) if group.is_chief else None
    except tf.errors.OpError as error:
        if lost := group.lost(error):
            raise lost from error
        raise
    except Exception as error:
        if not isinstance(error, Interrupted):
            group.report(error)
        raise


@contextlib.contextmanager
def dtype_policy(recipe: Recipe) -> Iterator[None]:
    """Sets the data type in which new layers compute, in a block."""
    previous = keras.config.dtype_policy()
    if recipe.mixed_precision != "none":
        keras.config.set_dtype_policy(f"mixed_{recipe.mixed_precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)


def _train(
    model_or_builder,
    data,
    recipe,
    augmentation,
    *,
    workdir,
    folder,
    seed,
    strategy,
    group,
    initial_checkpoint,
    callbacks,
    few_labels,
    loss,
):
    _check_divisible(recipe, few_labels, strategy)
    few_labels_method.check(few_labels, recipe, augmentation, strategy, group)
    workdir_format = flag_file.check_format(workdir, initial_checkpoint)
    fitted = memory.FittedMicroBatches(recipe, group)
    reader = data.open("train_split", recipe.skip_bad_records)
    eval_reader = data.open("eval_split")
    unlabeled = data.open_unlabeled(reader, recipe, few_labels)
    fingerprint.check_apart(workdir, data.records_dir)
    if group.is_chief:
        others = unlabeled.reader if unlabeled and data.unlabeled_records_dir else None
        fingerprint.check(
            workdir, (reader, eval_reader), others, allow_others=data.allow_others
        )
        flag_file.keep_format(workdir, workdir_format)
    spec = reader.split.spec
    keras.utils.set_random_seed(seed)
    class_weights = class_statistics.class_weights(recipe.class_weights, reader)
    network = Network.of_recipe(model_or_builder, spec, recipe)
    check_kinds(spec.image_kind, network.kind, few_labels)
    task = stages.task(network.kind, few_labels)
    with backbones.of_workdir_format(workdir_format):
        with strategy.scope():
            state, objective = create_state(
                network,
                recipe,
                class_weights,
                pretrained=not initial_checkpoint,
                few_labels=few_labels,
                loss=loss,
            )
        # Parameter servers hold the weights; a validation would fetch them per image.
        local_copy = network.copy() if group.is_asynchronous else None
    step_function = StepFunction(state, objective, recipe, strategy)
    keras_callbacks = Callbacks(callbacks, state.model)
    checkpoints = Checkpoints(
        os.path.join(workdir, layout.CHECKPOINTS),
        {**state.variables(), **keras_callbacks.variables},
        optional=keras_callbacks.variables,
        writes=group.is_chief,
        io_device=group.io_device,
    )
    restored = checkpoints.restore()
    state.step = restored or 0
    if restored is None:
        initial_weights.initialize(initial_checkpoint, state)
    group.check_agreed(state.step, "step at which the run is resumed")
    group.check_agreed(fingerprint.checksum(workdir), f"checksum of {layout.RECORDS}")

    num_unlabeled = unlabeled.batch_size if unlabeled else 0
    images = recipe.train_batch_size + num_unlabeled
    step_memory = memory.StepMemory(
        objective.model, augmentation.crop_size, images, group
    )
    fitted.fit(step_function, step_memory, workdir, restored)
    if not runtime.has_gpu():
        step_memory.check(step_function.micro_batches, restored)
    feature_statistics.fill(reader, state.model, state.evaluated_model)

    log = _start_log(folder, spec, task, state.step, checkpoints.num_damaged)
    validation = Validation(
        state,
        eval_reader,
        network.metadata(state.model),
        folder=folder,
        log=log,
        local_copy=local_copy,
        task=task,
        augmentation=augmentation,
        evaluated=objective.evaluated,
        limit=recipe.eval_limit,
        loss=validation_loss.maker(objective, eval_reader, augmentation, recipe),
    )
    batches, steps_per_epoch = training_batches(
        reader,
        augmentation,
        recipe,
        seed=seed,
        step=state.step,
        task=task,
        objective=objective,
        strategy=strategy,
        group=group,
        unlabeled=unlabeled,
    )
    origin = start_log.Origin(network, restored, initial_checkpoint)
    readers = reader, eval_reader
    start = start_log.Start(recipe, few_labels, origin, *readers, unlabeled=unlabeled)
    sizes = augmentation.crop_size, steps_per_epoch
    start_log.log(state, start, *sizes, workdir=workdir, group=group)
    take_step, num_ahead = _step_taker(
        state,
        step_function,
        recipe,
        strategy=strategy,
        group=group,
        use_more_micro_batches=lambda: fitted.increase(step_function, workdir),
    )
    keras_callbacks.begin()
    try:
        train_loop(
            state,
            take_step,
            batches,
            recipe=recipe,
            steps_per_epoch=steps_per_epoch,
            validation=validation,
            checkpoints=checkpoints,
            log=log,
            group=group,
            num_ahead=num_ahead,
            callbacks=keras_callbacks,
            num_unlabeled=num_unlabeled,
            samples=few_labels_method.samples(objective),
        )
    except tf.errors.ResourceExhaustedError as error:
        saved = max(checkpoints.steps(), default=None)
        raise step_memory.error(step_function.micro_batches, saved) from error
    finally:
        log.close()
    keras_callbacks.on_train_end()


def create_state(
    network: Network,
    recipe: Recipe,
    class_weights: np.ndarray | None = None,
    *,
    pretrained: bool = True,
    few_labels: FewLabels | None = None,
    loss: Callable | None = None,
) -> tuple[TrainState, LossSums]:
    """Creates the state of a run, in the scope of its strategy.

    Args:
        network: Creates the models.
        recipe: The hyperparameters.
        class_weights: One weight per class, or None.
        pretrained: Whether a builder loads pretrained weights.
        few_labels: How few labels are learned from; None for the labels of pixels only.
        loss: See `train`.

    Returns:
        The state at step 0, and the loss of its model.
    """
    model = network.build(pretrained=pretrained)
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    batch_norm.prepare(model, recipe, replicas)
    few_labels = few_labels or FewLabels()
    own_loss.check(loss, network.kind, recipe, few_labels)
    task = stages.task(network.kind, few_labels)
    shared = None if network.multi_label else class_weights
    objective = task.objective(model, recipe, shared)
    if network.multi_label:
        objective.use_each_class(network.num_classes, class_weights)
    if loss is not None:
        multi = {"multi_label": network.multi_label}
        objective.use(own_loss.as_sums(loss, network.num_classes, **multi))
    encoder: frozenset[str] = frozenset()
    if recipe.head_learning_rate_factor != 1:
        encoder = network.encoder_layers
    optimizer = GroupedOptimizer(objective.model, recipe, encoder)
    ema = None
    if recipe.ema_decay:
        ema = network.copy()
        backbones.copy_weights(model, ema)
    loss_scale = LossScale(enabled=recipe.mixed_precision == "float16")
    state = TrainState(model, optimizer, ema, loss_scale, History())
    if few_labels.semi != NO_METHOD:
        objective = few_labels_method.add(
            state, optimizer, objective, recipe, few_labels, network
        )
    return state, objective


def _start_log(folder, spec, task, step, num_damaged):
    log = RunLog(folder, spec, task, step)
    if num_damaged:
        log.scalars(step, **{"train/damaged_checkpoints": num_damaged})
    log.texts(step)
    text = json.dumps(spec.to_json(), indent=2)
    files.write_bytes(os.path.join(folder, layout.DATASET), text.encode())
    return log


def _step_taker(
    state, step_function, recipe, *, strategy, group, use_more_micro_batches
):
    """Returns the function that takes a step, and one of how many may be unchecked."""
    if group.is_asynchronous:
        asynchronous = AsynchronousStep(
            strategy, step_function, state, group.num_served, recipe.startup_delay_steps
        )
        return asynchronous, asynchronous.num_ahead
    chosen = compiling.choose(step_function, recipe.jit_compile, group)
    return _synchronous_step(state, chosen, use_more_micro_batches), steps_ahead


def _synchronous_step(state, step_function, use_more_micro_batches):
    """Returns a function that takes a step, with more micro-batches if need be."""

    def take_step(batch, step, rate: int):
        state.optimizer.set_learning_rate(rate)
        while True:
            try:
                return step_function(batch, tf.constant(step, tf.int64))
            except tf.errors.ResourceExhaustedError:
                if not use_more_micro_batches():
                    raise

    return take_step


def _check_divisible(recipe, few_labels, strategy):
    replicas = strategy.num_replicas_in_sync
    micro_batches = recipe.gradient_accumulation_steps
    divisor = replicas * micro_batches
    sizes = {
        "train_batch_size": recipe.train_batch_size,
        "unlabeled_batch_size": few_labels.unlabeled_batch_size or divisor,
    }
    for name, size in sizes.items():
        if size % divisor:
            raise errors.UserError(
                f"`{name}={size}` is not divisible by {replicas} devices with "
                f"{micro_batches} micro-batches each. Choose a multiple of {divisor}."
            )


@contextlib.contextmanager
def _result_folder(workdir, group):
    """Yields the folder of logs and models; that of other workers is temporary."""
    if group.is_chief:
        yield os.fspath(workdir)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield folder
