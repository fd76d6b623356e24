//! Which items trigger which (SetTriggering; Part 4, 5.13.1.6 and 5.13.5).

use std::collections::HashMap;

/// Triggering links of one subscription.
#[derive(Default)]
pub struct Triggers {
    links: HashMap<u32, Vec<u32>>,
    count: usize,
    /// Items that had news since [`Self::fired`] was asked.
    news: Vec<u32>,
}

impl Triggers {
    /// Links of all items.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Has `linked` told when `triggering` has news.
    pub fn link(&mut self, triggering: u32, linked: u32) {
        let links = self.links.entry(triggering).or_default();
        if !links.contains(&linked) {
            links.push(linked);
            self.count += 1;
        }
    }

    /// Takes a link away; false when there was none.
    pub fn unlink(&mut self, triggering: u32, linked: u32) -> bool {
        let Some(links) = self.links.get_mut(&triggering) else { return false };
        let Some(place) = links.iter().position(|id| *id == linked) else { return false };
        links.remove(place);
        self.count -= 1;
        if links.is_empty() {
            self.links.remove(&triggering);
        }
        true
    }

    /// Forgets the links from and to items that `stays` does not say.
    pub fn retain(&mut self, stays: impl Fn(u32) -> bool) {
        self.links.retain(|triggering, links| {
            links.retain(|linked| stays(*linked));
            stays(*triggering) && !links.is_empty()
        });
        self.count = self.links.values().map(Vec::len).sum();
    }

    /// An item had news.
    pub fn fire(&mut self, triggering: u32) {
        if self.links.contains_key(&triggering) {
            self.news.push(triggering);
        }
    }

    /// The items that are triggered by what had news since this was last asked.
    pub fn fired(&mut self) -> Vec<u32> {
        let mut news = std::mem::take(&mut self.news);
        news.dedup();
        news.iter().filter_map(|id| self.links.get(id)).flatten().copied().collect()
    }
}
