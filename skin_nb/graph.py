from .prefix import between, cut_model, image_nodes, list_cuts, macs, silence_dropout
from .gradcam import list_maps, cut_at
