//! The slab of sources, with generations.

use slab::Slab;

use super::Key;

/// Sources by key. A key outlives its source harmlessly: looking it up then finds nothing.
pub struct Table<T> {
    slab: Slab<(u32, T)>,
    // One counter for all places: a place reused 2^32 insertions later is the only way to confuse
    // two keys, and no event stays in a batch that long.
    generation: u32,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table {
            slab: Slab::new(),
            generation: 0,
        }
    }
}

impl<T> Table<T> {
    /// Puts a source in and answers its key.
    pub fn insert(&mut self, source: T) -> Key {
        // u32::MAX belongs to `Key::NONE` and to the waker.
        self.generation = if self.generation >= u32::MAX - 1 {
            0
        } else {
            self.generation + 1
        };
        let index = self.slab.insert((self.generation, source));
        Key {
            index: index as u32,
            generation: self.generation,
        }
    }

    pub fn get(&self, key: Key) -> Option<&T> {
        match self.slab.get(key.index as usize) {
            Some((generation, source)) if *generation == key.generation => Some(source),
            _ => None,
        }
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slab.get_mut(key.index as usize) {
            Some((generation, source)) if *generation == key.generation => Some(source),
            _ => None,
        }
    }

    /// Takes a source out. Its key, and events that carry it, find nothing from now on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let (_, source) = self.slab.remove(key.index as usize);
        // A burst of connections must not pin its memory for ever.
        if self.slab.is_empty() {
            self.slab.shrink_to_fit();
        }
        Some(source)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slab.iter().map(|(index, (generation, source))| {
            let key = Key {
                index: index as u32,
                generation: *generation,
            };
            (key, source)
        })
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.slab.iter_mut().map(|(index, (generation, source))| {
            let key = Key {
                index: index as u32,
                generation: *generation,
            };
            (key, source)
        })
    }

    pub fn len(&self) -> usize {
        self.slab.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_does_not_find_the_new_tenant() {
        let mut table = Table::default();
        let old = table.insert("old");
        assert_eq!(table.remove(old), Some("old"));
        let new = table.insert("new");
        assert_eq!(old.index, new.index, "the place is reused");
        assert_eq!(table.get(old), None);
        assert_eq!(table.get_mut(old), None);
        assert_eq!(table.remove(old), None);
        assert_eq!(table.get(new), Some(&"new"));
        assert_eq!(table.get(Key::NONE), None);
    }
}
