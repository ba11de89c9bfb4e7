"A model that tests can ask: the sample's own network, trained for a moment."
from skin_nb.core import Profile


def tiny_trial(folder, epochs):
    "A trial of a few epochs, saved as a run saves it."
    from skin_nb.experiment import load_data, run_trial
    from skin_nb.recipe import Stage, honest_recipe
    recipe = honest_recipe("tiny", "SampleNet", 64, stages=(Stage(epochs, 3e-3, unfreeze=0),))
    return run_trial(recipe, "lesion", load_data(), folder, Profile("short"))
