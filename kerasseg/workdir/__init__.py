"""What a workdir holds and how it survives.

flags.txt       a flagfile that repeats the run
dataset.json    class names, colours and sizes of the data set
checkpoints/    ckpt-<step>: every variable of the training, the newest few
best/           model.keras and model.json: the best network so far, its scores
scores.csv      one line a validation; curves.png shows them
events/         for TensorBoard
pictures/       predictions on validation pictures
metrics.json    what kerasseg.evaluate found
"""
