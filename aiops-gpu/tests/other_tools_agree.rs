//! PyTorch, ONNX Runtime and scikit-learn on small models: `golden/README.md` says how the numbers were made.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![allow(clippy::excessive_precision, reason = "numbers stand as the other tool printed them")]

use aiops_detect::tier3::{PackedForest, PackedNode};
use aiops_gpu::{Autoencoder, Forecaster, ForestScorer, LstmReference, LstmWeights, Simd, weights};

const HIDDEN: usize = 3;
const INPUTS: [f32; 8] = [0.5, -1.0, 2.0, 0.0, 0.25, -3.0, 8.0, 1.0];
const TORCH: [f64; 8] = [
    0.20912235975265503,
    0.16195011138916016,
    0.228562131524086,
    0.23734164237976074,
    0.2580066919326782,
    0.15439802408218384,
    0.11689918488264084,
    0.19902236759662628,
];
const ONNX_W: [f32; 12] = [
    0.4207354784011841,
    0.21368993818759918,
    -0.4758010506629944,
    -0.2790261209011078,
    -0.3754936158657074,
    0.3757867217063904,
    -0.09108125418424606,
    0.4992716610431671,
    -0.03757556155323982,
    -0.4895888566970825,
    0.1637372225522995,
    0.44739559292793274,
];

/// Numbers that a layer with its readout takes of the formula.
const FORMULA: usize = 4 * HIDDEN * (HIDDEN + 3) + HIDDEN + 1;
const TORCH_AUTOENCODER_SCORE: f64 = 1.0670905543798879;

fn fixed() -> LstmWeights {
    numbers_from(0)
}

/// Weights by the formula of `golden/lstm.py`, from its n-th number on.
fn numbers_from(mut n: usize) -> LstmWeights {
    let mut next = |count: usize| -> Vec<f32> {
        let numbers = n..n + count;
        n += count;
        numbers.map(|n| ((1.0 + 1.7 * n as f64).sin() / 2.0) as f32).collect()
    };
    let (w_ih, w_hh) = (next(4 * HIDDEN), next(4 * HIDDEN * HIDDEN));
    let (b_ih, b_hh, w_out) = (next(4 * HIDDEN), next(4 * HIDDEN), next(HIDDEN));
    LstmWeights::new(w_ih, w_hh, b_ih, b_hh, w_out, next(1)[0]).unwrap()
}

#[test]
fn the_lstm_is_pytorchs() {
    let weights = fixed();
    let mut reference = LstmReference::new(&weights);
    for (x, expected) in INPUTS.iter().zip(TORCH) {
        let off = (reference.step(f64::from(*x)) - expected).abs();
        assert!(off < 1e-6, "reference: off by {off}");
    }
    for simd in Simd::available() {
        let mut forecaster = Forecaster::on(&weights, 1, simd).unwrap();
        for (x, expected) in INPUTS.iter().zip(TORCH) {
            let mut next = [f32::NAN];
            forecaster.step(&[*x], &mut next).unwrap();
            let off = (f64::from(next[0]) - expected).abs();
            assert!(off < 1e-6, "{simd:?}: off by {off}");
        }
    }
}

/// Through the file and back, in PyTorch's gate order: the windows are told as PyTorch tells them.
#[test]
fn the_autoencoder_is_pytorchs() {
    let (encoder, decoder) = (fixed(), numbers_from(FORMULA));
    let bytes = weights::autoencoder_to_safetensors(&encoder, &decoder, &[("recipe", "a formula")]);
    let (encoder, decoder) = weights::autoencoder_from_safetensors(&bytes).unwrap();
    for simd in Simd::available() {
        let autoencoder = Autoencoder::on(&encoder, &decoder, simd).unwrap();
        let mut score = [f64::NAN];
        autoencoder.score(&INPUTS[..5], 5, &mut score).unwrap();
        let off = (score[0] - TORCH_AUTOENCODER_SCORE).abs();
        assert!(off < 1e-6, "{simd:?}: off by {off}");
        autoencoder.score_reference(&INPUTS[..5], 5, &mut score).unwrap();
        assert!((score[0] - TORCH_AUTOENCODER_SCORE).abs() < 1e-6);
    }
    for cut in [4, 100, bytes.len() - 1] {
        assert!(weights::autoencoder_from_safetensors(&bytes[..cut]).is_err());
    }
    assert!(
        weights::autoencoder_from_safetensors(&weights::to_safetensors(&encoder, &[])).is_err()
    );
    assert!(weights::from_safetensors(&bytes).is_err(), "two layers are not one");
}

#[test]
fn onnx_order_is_onnxs() {
    let weights = fixed();
    let [w, r, b] = weights::to_onnx(&weights);
    assert_eq!(w, ONNX_W);
    let readout = (weights.readout(), weights.readout_bias());
    assert_eq!(weights::from_onnx(&w, &r, &b, readout.0, readout.1).unwrap(), weights);
    assert!(weights::from_onnx(&w, &r[1..], &b, readout.0, readout.1).is_err());
}

#[test]
fn safetensors_come_back_and_damage_is_refused() {
    let weights = fixed();
    let bytes = weights::to_safetensors(&weights, &[("recipe", "a formula")]);
    assert_eq!(weights::from_safetensors(&bytes).unwrap(), weights);
    for cut in 0..bytes.len() {
        assert!(weights::from_safetensors(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let text = |bytes: &[u8], from: &str, to: &str| {
        let text = bytes.to_vec();
        let at = text.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        let mut out = text[..at].to_vec();
        out.extend_from_slice(to.as_bytes());
        out.extend_from_slice(&text[at + from.len()..]);
        out
    };
    for (from, to) in
        [("\"F32\"", "\"F16\""), ("[12,3]", "[3,12]"), ("[12,1]", "[12,9]"), ("head.b", "hoad.c")]
    {
        assert!(weights::from_safetensors(&text(&bytes, from, to)).is_err(), "{from} as {to}");
    }
    let endless = [&u64::MAX.to_le_bytes()[..], &bytes[8..]].concat();
    assert!(weights::from_safetensors(&endless).is_err());
}

/// A tree as scikit-learn keeps it.
struct Tree {
    left: &'static [i32],
    right: &'static [i32],
    feature: &'static [i32],
    threshold: &'static [f32],
    samples: &'static [u32],
}

/// c(n), equation 1 of the paper.
fn search_depth(n: u32) -> f64 {
    match n {
        0 | 1 => 0.0,
        2 => 1.0,
        n => {
            let m = f64::from(n - 1);
            2.0 * (m.ln() + 0.577_215_664_901_532_9) - 2.0 * m / f64::from(n)
        }
    }
}

fn packed(trees: &[Tree], n_series: usize, sample: u32) -> PackedForest {
    let mut forest = PackedForest {
        nodes: Vec::new(),
        paths: Vec::new(),
        roots: Vec::new(),
        depth: 4,
        n_series,
        normal: search_depth(sample),
    };
    for tree in trees {
        forest.roots.push(forest.nodes.len() as u32);
        let leaf = |own: usize| PackedNode { cut: f32::INFINITY, feature: 0, child: own as u32 };
        forest.nodes.push(leaf(forest.nodes.len()));
        forest.paths.push(0.0);
        let mut waiting = vec![(0_usize, forest.nodes.len() - 1, 0.0)];
        while let Some((theirs, ours, depth)) = waiting.pop() {
            if tree.left[theirs] < 0 {
                forest.paths[ours] = (depth + search_depth(tree.samples[theirs])) as f32;
                continue;
            }
            let child = forest.nodes.len();
            let feature = tree.feature[theirs] as u32;
            forest.nodes[ours] =
                PackedNode { cut: tree.threshold[theirs], feature, child: child as u32 };
            for (side, to) in [(tree.left, child), (tree.right, child + 1)] {
                forest.nodes.push(leaf(to));
                forest.paths.push(0.0);
                waiting.push((side[theirs] as usize, to, depth + 1.0));
            }
        }
    }
    forest
}

#[test]
fn the_forest_is_scikit_learns() {
    let forest = packed(&TREES, 2, 16);
    let rows = [0.1, 0.2, 5.0, -5.0, -0.9, 1.9, 0.5, -1.5, 9.0, 9.0];
    let expected = [
        0.5221058208056355,
        0.6113647378126765,
        0.6422000682079734,
        0.5820099703255094,
        0.7086148839953117,
    ];
    for simd in Simd::available() {
        let mut scores = [f64::NAN; 5];
        ForestScorer::on(&forest, simd).unwrap().score(&rows, &mut scores).unwrap();
        for (score, expected) in scores.iter().zip(expected) {
            assert!((score - expected).abs() < 1e-6, "{simd:?}: {score} against {expected}");
        }
    }
}

const TREES: [Tree; 3] = [
    Tree {
        left: &[
            1, 2, 3, 4, -1, -1, 7, -1, -1, 10, 11, -1, -1, 14, -1, -1, 17, -1, 19, 20, -1, -1, 23,
            -1, -1,
        ],
        right: &[
            16, 9, 6, 5, -1, -1, 8, -1, -1, 13, 12, -1, -1, 15, -1, -1, 18, -1, 22, 21, -1, -1, 24,
            -1, -1,
        ],
        feature: &[
            0, 1, 0, 1, -2, -2, 1, -2, -2, 1, 0, -2, -2, 0, -2, -2, 1, -2, 1, 0, -2, -2, 1, -2, -2,
        ],
        threshold: &[
            0.157362342,
            0.498548388,
            -0.243086472,
            -1.889409423,
            -2.0,
            -2.0,
            0.02755079,
            -2.0,
            -2.0,
            1.813821197,
            -0.879353106,
            -2.0,
            -2.0,
            -0.974891305,
            -2.0,
            -2.0,
            -1.458840609,
            -2.0,
            0.36769703,
            0.807859838,
            -2.0,
            -2.0,
            1.518255472,
            -2.0,
            -2.0,
        ],
        samples: &[16, 9, 5, 3, 2, 1, 2, 1, 1, 4, 2, 1, 1, 2, 1, 1, 7, 1, 6, 4, 2, 2, 2, 1, 1],
    },
    Tree {
        left: &[1, 2, 3, 4, -1, -1, -1, 8, 9, -1, -1, 12, -1, -1, -1],
        right: &[14, 7, 6, 5, -1, -1, -1, 11, 10, -1, -1, 13, -1, -1, -1],
        feature: &[1, 0, 0, 1, -2, -2, -2, 0, 1, -2, -2, 0, -2, -2, -2],
        threshold: &[
            1.768733859,
            0.024092555,
            -0.059604928,
            -1.765475631,
            -2.0,
            -2.0,
            -2.0,
            0.322441608,
            -1.648461342,
            -2.0,
            -2.0,
            0.878188968,
            -2.0,
            -2.0,
            -2.0,
        ],
        samples: &[16, 15, 9, 8, 4, 4, 1, 6, 2, 1, 1, 4, 2, 2, 1],
    },
    Tree {
        left: &[1, 2, 3, -1, 5, -1, -1, 8, -1, 10, -1, -1, 13, 14, 15, -1, -1, 18, -1, -1, -1],
        right: &[12, 7, 4, -1, 6, -1, -1, 9, -1, 11, -1, -1, 20, 17, 16, -1, -1, 19, -1, -1, -1],
        feature: &[1, 1, 1, -2, 1, -2, -2, 0, -2, 0, -2, -2, 0, 1, 0, -2, -2, 0, -2, -2, -2],
        threshold: &[
            1.510306239,
            -0.388404012,
            -1.887715459,
            -2.0,
            -1.240009904,
            -2.0,
            -2.0,
            -0.394084215,
            -2.0,
            0.382819742,
            -2.0,
            -2.0,
            0.900593638,
            1.615466714,
            -0.461529016,
            -2.0,
            -2.0,
            -0.270873368,
            -2.0,
            -2.0,
            -2.0,
        ],
        samples: &[16, 11, 6, 1, 5, 1, 4, 5, 1, 4, 3, 1, 5, 4, 2, 1, 1, 2, 1, 1, 1],
    },
];
