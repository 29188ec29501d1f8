"""A trained sentence encoder, all-MiniLM-L6-v2, of fnnet's layers: its embeddings, and a fine-tuning."""
