"""How the default model is made: hosts to lesions, lesions to an encoder, an encoder to a model."""
