//! Everything that a set of paths needs, in an order in which it can be built up.

use std::collections::BTreeSet;

use cairn_formats::StorePath;

use crate::error::{Result, StoreError};
use crate::store::Store;

impl Store {
    /// `roots` and all that they refer to, directly or not: each path after its references. The
    /// order depends on the set of roots alone.
    pub fn closure(&self, roots: &[StorePath]) -> Result<Vec<StorePath>> {
        let sorted: BTreeSet<&StorePath> = roots.iter().collect();
        let mut order = Order { store: self, seen: BTreeSet::new(), closure: Vec::new() };
        for root in sorted {
            order.visit(root)?;
        }
        Ok(order.closure)
    }
}

struct Order<'s> {
    store: &'s Store,
    seen: BTreeSet<StorePath>,
    closure: Vec<StorePath>,
}

impl Order<'_> {
    /// Depth first on a stack of our own: a chain of references may be longer than the thread's.
    fn visit(&mut self, root: &StorePath) -> Result<()> {
        if !self.seen.insert(root.clone()) {
            return Ok(());
        }
        let mut stack = vec![(root.clone(), self.references(root)?)];
        while let Some((_, references)) = stack.last_mut() {
            match references.pop_first() {
                Some(next) if self.seen.insert(next.clone()) => {
                    let references = self.references(&next)?;
                    stack.push((next, references));
                }
                Some(_) => {}
                None => self.closure.extend(stack.pop().map(|(path, _)| path)),
            }
        }
        Ok(())
    }

    fn references(&self, path: &StorePath) -> Result<BTreeSet<StorePath>> {
        self.store.db().references(path)?.ok_or_else(|| StoreError::NotValid { path: path.clone() })
    }
}
