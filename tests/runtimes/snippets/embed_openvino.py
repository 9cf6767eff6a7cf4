import numpy as np
import openvino
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("MODEL/tokenizer.json")
tokenizer.enable_truncation(max_length=64)
tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
model = openvino.compile_model("MODEL/openvino/openvino_model.xml", "CPU")

texts = tokenizer.encode_batch(["A first text.", "A second one, which is longer."])
inputs = {
    "input_ids": np.array([text.ids for text in texts], dtype=np.int64),
    "attention_mask": np.array([text.attention_mask for text in texts], dtype=np.int64),
    "token_type_ids": np.array([text.type_ids for text in texts], dtype=np.int64),
}
hidden = model(inputs)["last_hidden_state"]
mask = inputs["attention_mask"][..., None]
embeddings = (hidden * mask).sum(1) / mask.sum(1)
embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
