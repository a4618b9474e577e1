//! What follows what: the steps that each step waits for.

use std::collections::BTreeSet;

/// The steps that each step waits for, by their positions in the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Graph {
    needs: Vec<BTreeSet<usize>>,
}

impl Graph {
    pub(super) fn new(needs: Vec<BTreeSet<usize>>) -> Self {
        Self { needs }
    }

    /// What `step` waits for.
    pub(super) fn needs(&self, step: usize) -> &BTreeSet<usize> {
        &self.needs[step]
    }

    /// The steps that nothing else waits for.
    pub(super) fn ends(&self) -> Vec<usize> {
        let needed: BTreeSet<usize> = self.needs.iter().flatten().copied().collect();
        (0..self.needs.len())
            .filter(|step| !needed.contains(step))
            .collect()
    }

    /// A cycle, if there is one: each step waits for the next.
    pub(super) fn cycle(&self) -> Option<Vec<usize>> {
        let mut marks = vec![Mark::Fresh; self.needs.len()];
        let mut way = Vec::new();
        (0..self.needs.len()).find_map(|step| self.walk(step, &mut marks, &mut way))
    }

    fn walk(&self, step: usize, marks: &mut [Mark], way: &mut Vec<usize>) -> Option<Vec<usize>> {
        match marks[step] {
            Mark::Done => return None,
            Mark::OnTheWay => {
                let start = way.iter().position(|passed| *passed == step)?;
                return Some(way[start..].to_vec());
            }
            Mark::Fresh => {}
        }
        marks[step] = Mark::OnTheWay;
        way.push(step);
        let needs = self.needs[step].iter();
        let cycle = needs.copied().find_map(|next| self.walk(next, marks, way));
        way.pop();
        marks[step] = Mark::Done;
        cycle
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Fresh,
    OnTheWay,
    Done,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(needs: &[&[usize]]) -> Graph {
        Graph::new(
            needs
                .iter()
                .map(|it| it.iter().copied().collect())
                .collect(),
        )
    }

    #[test]
    fn cycle_is_found_and_a_diamond_is_none() {
        assert_eq!(graph(&[&[], &[0], &[0], &[1, 2]]).cycle(), None);
        assert_eq!(
            graph(&[&[], &[3], &[1], &[0, 2]]).cycle(),
            Some(vec![1, 3, 2])
        );
        assert_eq!(graph(&[&[0]]).cycle(), Some(vec![0]));
    }

    #[test]
    fn ends_are_what_nothing_waits_for() {
        assert_eq!(graph(&[&[], &[0], &[0], &[1]]).ends(), [2, 3]);
    }
}
