"""Pictures of attention: needs ``pip install 'attention-service[viz]'``."""
