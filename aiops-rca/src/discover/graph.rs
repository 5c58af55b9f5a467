//! A causal graph: edges with their marks, lags and tests.

use aiops_core::SeriesKey;

/// What is known of an edge's direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// `from` influences `to`.
    Directed,
    /// One of the two influences the other; the data do not tell which.
    Undirected,
}

/// An edge and the test it rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CausalEdge {
    /// The cause, a row.
    pub from: usize,
    /// The effect, a row.
    pub to: usize,
    /// How many steps later; 0 within the same step. The strongest lag where several act.
    pub lag: u32,
    /// Whether the direction is known. An undirected edge is listed once, `from` below `to`.
    pub mark: Mark,
    /// The effect size: a partial correlation or a coefficient, as the method says.
    pub strength: f64,
    /// The p-value, adjusted where the method adjusts; 0 for an edge that was required.
    pub p_value: f64,
}

/// Edges over the rows of a frame, ordered by (from, to, lag).
#[derive(Debug, Clone, PartialEq)]
pub struct CausalGraph {
    /// The rows.
    pub variables: Vec<SeriesKey>,
    /// The edges.
    pub edges: Vec<CausalEdge>,
}

impl CausalGraph {
    /// A graph with its edges in order.
    pub fn new(variables: Vec<SeriesKey>, mut edges: Vec<CausalEdge>) -> Self {
        edges.sort_by_key(|edge| (edge.from, edge.to, edge.lag));
        CausalGraph { variables, edges }
    }

    /// The ordered pairs that are connected, both ways for an undirected edge; loops left out.
    pub fn pairs(&self) -> std::collections::BTreeSet<(usize, usize)> {
        let both = |edge: &CausalEdge| {
            let back = (edge.mark == Mark::Undirected).then_some((edge.to, edge.from));
            std::iter::once((edge.from, edge.to)).chain(back)
        };
        self.edges.iter().flat_map(both).filter(|(a, b)| a != b).collect()
    }

    /// The unordered pairs that are connected, smaller row first.
    pub fn skeleton(&self) -> std::collections::BTreeSet<(usize, usize)> {
        self.pairs().into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect()
    }

    /// The rows that influence `row` directly, loops left out; undirected neighbours are not parents.
    pub fn parents(&self, row: usize) -> Vec<usize> {
        let into = |edge: &&CausalEdge| edge.to == row && edge.from != row;
        let directed = self.edges.iter().filter(into).filter(|e| e.mark == Mark::Directed);
        let mut parents: Vec<usize> = directed.map(|edge| edge.from).collect();
        parents.dedup();
        parents
    }
}
