"""Plans a training run of a given duration: network, crop, steps, as a flag file.

`facts` are measured on the records, `measuring` the time of steps. The other modules
compute a plan from these numbers only. `kerasseg fit` calls them.
"""
