//! Weights from and to other tools: safetensors with PyTorch's names and gate order, and ONNX's order.
//!
//! Nothing here opens a file: bytes in, bytes out.
//!
//! | source | gates in the order | names or parts |
//! | --- | --- | --- |
//! | PyTorch `LSTM`, `Linear` | i, f, g, o | `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`; `weight`, `bias` |
//! | ONNX `LSTM` | i, o, f, c | `W` [1, 4h, 1], `R` [1, 4h, h], `B` [1, 8h] |

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Error, LstmWeights, Result, model::MAX_HIDDEN};

/// A header may be so long, which is far more than six tensors need.
const LONGEST_HEADER: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// A tensor on its way out: name, values, shape.
type Part<'a> = (String, &'a [f32], Vec<usize>);

/// What PyTorch calls the tensors of a field that is an `LSTM(1, hidden)`.
fn layer<'a>(field: &str, weights: &'a LstmWeights) -> [Part<'a>; 4] {
    let rows = 4 * weights.hidden();
    [
        (format!("{field}.weight_ih_l0"), weights.w_ih(), vec![rows, 1]),
        (format!("{field}.weight_hh_l0"), weights.w_hh(), vec![rows, weights.hidden()]),
        (format!("{field}.bias_ih_l0"), weights.b_ih(), vec![rows]),
        (format!("{field}.bias_hh_l0"), weights.b_hh(), vec![rows]),
    ]
}

/// The weights as a safetensors file: `f32`, PyTorch's shapes and gate order, the names of a module with
/// the fields `lstm = LSTM(1, hidden)` and `head = Linear(hidden, 1)`. `about` goes into its metadata.
///
/// ```
/// use aiops_gpu::{LstmWeights, weights};
/// let weights = LstmWeights::random(8, 1);
/// let bytes = weights::to_safetensors(&weights, &[("trained_on", "nothing")]);
/// assert_eq!(weights::from_safetensors(&bytes)?, weights);
/// # Ok::<(), aiops_gpu::Error>(())
/// ```
pub fn to_safetensors(weights: &LstmWeights, about: &[(&str, &str)]) -> Vec<u8> {
    let bias = [weights.readout_bias()];
    let mut parts = layer("lstm", weights).to_vec();
    parts.extend(head(weights, &bias));
    write(&parts, about)
}

/// An autoencoder as a safetensors file: as [`to_safetensors`], of a module with the fields `encoder` and
/// `decoder`, each an `LSTM(1, hidden)`, and `head = Linear(hidden, 1)`, which reads the decoder. The
/// encoder's readout is not written, because nothing uses it.
pub fn autoencoder_to_safetensors(
    encoder: &LstmWeights,
    decoder: &LstmWeights,
    about: &[(&str, &str)],
) -> Vec<u8> {
    let bias = [decoder.readout_bias()];
    let mut parts = layer("encoder", encoder).to_vec();
    parts.extend(layer("decoder", decoder));
    parts.extend(head(decoder, &bias));
    write(&parts, about)
}

fn head<'a>(weights: &'a LstmWeights, bias: &'a [f32]) -> [Part<'a>; 2] {
    [
        ("head.weight".to_owned(), weights.readout(), vec![1, weights.hidden()]),
        ("head.bias".to_owned(), bias, vec![1]),
    ]
}

fn write(parts: &[Part<'_>], about: &[(&str, &str)]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    if !about.is_empty() {
        let about = about.iter().map(|(key, value)| ((*key).to_owned(), (*value).into()));
        header.insert("__metadata__".to_owned(), serde_json::Value::Object(about.collect()));
    }
    let mut data = Vec::new();
    for (name, values, shape) in parts {
        let from = data.len();
        values.iter().for_each(|value| data.extend_from_slice(&value.to_le_bytes()));
        let tensor =
            serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [from, data.len()]});
        header.insert(name.clone(), tensor);
    }
    let mut header = serde_json::Value::Object(header).to_string();
    // The format wants data to begin at a multiple of eight.
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(&data);
    bytes
}

/// Weights from a safetensors file as [`to_safetensors`] or PyTorch writes it. Tensors are found by the
/// end of their names, so that other field names than `lstm` and `head` do; more tensors are ignored.
///
/// # Errors
/// [`Error::Weights`] when the bytes are no such file, a tensor is missing, twice there, not `F32`, or of
/// the wrong shape. Nothing is allocated beyond the size of `bytes`.
pub fn from_safetensors(bytes: &[u8]) -> Result<LstmWeights> {
    let file = File::parse(bytes)?;
    let hidden = file.hidden("")?;
    file.lstm("", hidden, file.head(hidden)?)
}

/// Encoder and decoder from a file as [`autoencoder_to_safetensors`] or PyTorch writes it, for
/// [`Autoencoder::new`](crate::Autoencoder::new). The encoder gets a readout of zeros.
///
/// ```
/// use aiops_gpu::{LstmWeights, weights};
/// let decoder = LstmWeights::random(8, 1);
/// let bytes = weights::autoencoder_to_safetensors(&decoder, &decoder, &[]);
/// let (encoder, read) = weights::autoencoder_from_safetensors(&bytes)?;
/// assert_eq!((read, encoder.w_hh()), (decoder.clone(), decoder.w_hh()));
/// # Ok::<(), aiops_gpu::Error>(())
/// ```
///
/// # Errors
/// As [`from_safetensors`].
pub fn autoencoder_from_safetensors(bytes: &[u8]) -> Result<(LstmWeights, LstmWeights)> {
    let file = File::parse(bytes)?;
    let hidden = file.hidden("encoder.")?;
    let encoder = file.lstm("encoder.", hidden, (vec![0.0; hidden], 0.0))?;
    let decoder = file.lstm("decoder.", hidden, file.head(hidden)?)?;
    Ok((encoder, decoder))
}

/// A safetensors file whose header was read.
struct File<'a> {
    header: BTreeMap<String, serde_json::Value>,
    data: &'a [u8],
}

fn reject(reason: String) -> Error {
    Error::weights(format!("no safetensors: {reason}"))
}

impl<'a> File<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self> {
        let (length, rest) = bytes
            .split_first_chunk::<8>()
            .ok_or_else(|| reject("shorter than its header".into()))?;
        let length = u64::from_le_bytes(*length);
        if length > LONGEST_HEADER.min(rest.len() as u64) {
            return Err(reject(format!("a header of {length} bytes")));
        }
        let (header, data) = rest.split_at(length as usize);
        let mut header: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(header).map_err(|error| reject(error.to_string()))?;
        header.remove("__metadata__");
        Ok(File { header, data })
    }

    /// The one tensor whose name ends so, of those that have `field` in theirs.
    fn find(&self, field: &str, end: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let wanted = |name: &str| name.ends_with(end) && name.contains(field);
        let mut named = self.header.iter().filter(|(name, _)| wanted(name));
        let (Some((name, tensor)), None) = (named.next(), named.next()) else {
            return Err(reject(format!("needs one tensor {field:?} whose name ends in {end:?}")));
        };
        let tensor: Tensor =
            serde_json::from_value(tensor.clone()).map_err(|error| reject(error.to_string()))?;
        let [from, to] = tensor.data_offsets;
        let size = tensor.shape.iter().try_fold(4_usize, |size, n| size.checked_mul(*n));
        let held = self.data.get(from..to).filter(|held| Some(held.len()) == size);
        let Some(held) = held.filter(|_| tensor.dtype == "F32") else {
            let Tensor { dtype, shape, .. } = tensor;
            return Err(reject(format!("{name}: {dtype} {shape:?} at {from}..{to}")));
        };
        let floats = held.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four));
        Ok((tensor.shape, floats.collect()))
    }

    fn expect(&self, field: &str, end: &str, wanted: &[usize]) -> Result<Vec<f32>> {
        let (shape, values) = self.find(field, end)?;
        if shape != wanted {
            return Err(Error::weights(format!("{field}{end} is {shape:?}, not {wanted:?}")));
        }
        Ok(values)
    }

    /// Hidden units of a layer.
    fn hidden(&self, field: &str) -> Result<usize> {
        let (shape, _) = self.find(field, "weight_hh_l0")?;
        let hidden = shape.get(1).copied().unwrap_or(0);
        if !(1..=MAX_HIDDEN).contains(&hidden) {
            return Err(Error::weights(format!("{hidden} hidden units, must be 1 to 1024")));
        }
        Ok(hidden)
    }

    fn head(&self, hidden: usize) -> Result<(Vec<f32>, f32)> {
        let weight = self.expect("", ".weight", &[1, hidden])?;
        Ok((weight, self.expect("", ".bias", &[1])?[0]))
    }

    fn lstm(&self, field: &str, hidden: usize, readout: (Vec<f32>, f32)) -> Result<LstmWeights> {
        let w_hh = self.expect(field, "weight_hh_l0", &[4 * hidden, hidden])?;
        let w_ih = self.expect(field, "weight_ih_l0", &[4 * hidden, 1])?;
        let b_ih = self.expect(field, "bias_ih_l0", &[4 * hidden])?;
        let b_hh = self.expect(field, "bias_hh_l0", &[4 * hidden])?;
        LstmWeights::new(w_ih, w_hh, b_ih, b_hh, readout.0, readout.1)
    }
}

/// Which block of ONNX's gates is our gate: i, f, g, o lie at 0, 2, 3, 1 of i, o, f, c.
const ONNX: [usize; 4] = [0, 2, 3, 1];

fn reordered<const TO_ONNX: bool>(values: &[f32], block: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    for (ours, theirs) in ONNX.into_iter().enumerate() {
        let (from, to) = if TO_ONNX { (ours, theirs) } else { (theirs, ours) };
        out[to * block..(to + 1) * block]
            .copy_from_slice(&values[from * block..(from + 1) * block]);
    }
    out
}

/// Weights from the tensors `W`, `R` and `B` of an ONNX `LSTM` of one direction and one input, and a
/// readout.
///
/// # Errors
/// [`Error::Weights`] when the lengths do not belong together or a number is not finite.
pub fn from_onnx(
    w: &[f32],
    r: &[f32],
    b: &[f32],
    w_out: &[f32],
    b_out: f32,
) -> Result<LstmWeights> {
    let hidden = w_out.len();
    let lengths = [w.len(), r.len(), b.len()];
    if hidden == 0 || lengths != [4 * hidden, 4 * hidden * hidden, 8 * hidden] {
        let reason = format!("W, R, B of {lengths:?} values for {hidden} hidden units");
        return Err(Error::weights(reason));
    }
    let (b_ih, b_hh) = b.split_at(4 * hidden);
    LstmWeights::new(
        reordered::<false>(w, hidden),
        reordered::<false>(r, hidden * hidden),
        reordered::<false>(b_ih, hidden),
        reordered::<false>(b_hh, hidden),
        w_out.to_vec(),
        b_out,
    )
}

/// The tensors `W`, `R` and `B` of an ONNX `LSTM`.
pub fn to_onnx(weights: &LstmWeights) -> [Vec<f32>; 3] {
    let hidden = weights.hidden();
    let mut bias = reordered::<true>(weights.b_ih(), hidden);
    bias.extend(reordered::<true>(weights.b_hh(), hidden));
    let w = reordered::<true>(weights.w_ih(), hidden);
    [w, reordered::<true>(weights.w_hh(), hidden * hidden), bias]
}
