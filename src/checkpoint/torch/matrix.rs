//! One matrix out of a PyTorch file, in every way that people store one.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use super::super::Array;
use super::super::error::Flaw;
use super::super::pickle::{Id, Node};
use super::super::torch_read::{Loader, TorchFile};

const EXPECTED: &str =
    "expected exactly one matrix [rows, dim], a list of its rows, or a dictionary of them by id";

impl<R: Read + Seek> TorchFile<R> {
    /// A tensor or numpy array alone or as the only one of a dictionary; a list of rows; rows by id (0, 1, 2, ...).
    ///
    /// # Errors
    /// Anything else; ids that are not the numbers of the rows.
    pub(in super::super) fn matrix(&mut self) -> Result<Array, Flaw> {
        let root = self.pickle.root;
        match self.pickle.node(root) {
            Node::List(rows) | Node::Tuple(rows) => {
                let rows = rows.clone();
                self.stack(&rows)
            }
            Node::Dict(_) => match self.rows_by_id(root)? {
                Some(rows) => self.stack(&rows),
                None => self.only_one(root),
            },
            Node::Opaque(class) => Err(Flaw::foreign(
                format!("it holds an object of class {}", class.replace(' ', ".")),
                EXPECTED,
            )),
            _ => self.load_matrix("tensor", root),
        }
    }

    fn is_tensor(&self, id: Id) -> bool {
        matches!(self.pickle.node(id), Node::Tensor(_) | Node::Numpy(_) | Node::Foreign(_))
    }

    fn load_matrix(&mut self, name: &str, id: Id) -> Result<Array, Flaw> {
        let array = Loader::new(self).load(name, id)?;
        match array.shape.len() {
            2 => Ok(array),
            _ => Err(Flaw::foreign(format!("its tensor `{name}` has the shape {:?}", array.shape), EXPECTED)),
        }
    }

    /// The only tensor of the dictionary `id`.
    fn only_one(&mut self, id: Id) -> Result<Array, Flaw> {
        let entries = self.pickle.entries(id).into_iter().flatten();
        let tensors: Vec<(String, Id)> = entries
            .filter(|(_, value)| self.is_tensor(*value))
            .map(|(name, value)| (name.to_string(), value))
            .collect();
        let [(name, one)] = tensors.as_slice() else {
            return Err(Flaw::foreign(format!("it holds {} tensors", tensors.len()), EXPECTED));
        };
        let array = self.load_matrix(name, *one)?;
        for (key, value) in self.pickle.entries(id).into_iter().flatten() {
            self.check_ids(key, value, array.shape[0])?;
        }
        Ok(array)
    }

    /// A list of as many numbers as there are rows beside the matrix says which row is whose.
    fn check_ids(&self, key: &str, id: Id, rows: usize) -> Result<(), Flaw> {
        let (Node::List(ids) | Node::Tuple(ids)) = self.pickle.node(id) else { return Ok(()) };
        let numbers = ids.iter().map(|id| self.pickle.int(*id));
        let Some(numbers) = numbers.collect::<Option<Vec<i64>>>().filter(|ids| ids.len() == rows) else {
            return Ok(());
        };
        match (0_i64..).zip(&numbers).find(|(row, id)| row != *id) {
            Some((row, id)) => Err(Flaw::foreign(
                format!("its `{key}` gives row {row} to id {id}"),
                "row = global id: sort the matrix by id, and save it without gaps",
            )),
            None => Ok(()),
        }
    }

    /// The values of a dictionary by id in the order of the ids; `None` if it is not one.
    fn rows_by_id(&self, id: Id) -> Result<Option<Vec<Id>>, Flaw> {
        let mut rows = BTreeMap::new();
        for (key, value) in self.pickle.pairs(id).unwrap_or_default() {
            let number = match self.pickle.node(*key) {
                Node::Int(number) => u64::try_from(*number).ok(),
                Node::Text(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                    text.parse().ok()
                }
                _ => None,
            };
            let Some(number) = number else { return Ok(None) };
            if rows.insert(number, *value).is_some() {
                return Err(Flaw::foreign(format!("it holds id {number} twice"), EXPECTED));
            }
        }
        if let Some((expected, _)) = (0_u64..).zip(rows.keys()).find(|(expected, id)| expected != *id) {
            return Err(Flaw::foreign(
                format!("it has rows for {} ids, but none for id {expected}", rows.len()),
                "row = global id, from 0 without gaps",
            ));
        }
        Ok((!rows.is_empty()).then(|| rows.into_values().collect()))
    }

    /// Rows of shape [dim] or [1, dim] -> [rows, dim].
    fn stack(&mut self, rows: &[Id]) -> Result<Array, Flaw> {
        if let [one] = rows
            && matches!(self.pickle.node(*one), Node::Tensor(tensor) if tensor.shape.len() == 2 && tensor.shape[0] > 1)
        {
            return self.load_matrix("[0]", *one);
        }
        if let Some(row) = rows.iter().position(|id| !self.is_tensor(*id)) {
            return Err(Flaw::foreign(format!("its row {row} is not a tensor"), EXPECTED));
        }
        let mut loader = Loader::new(self);
        let (mut values, mut dim) = (Vec::new(), None);
        for (row, id) in rows.iter().enumerate() {
            let array = loader.load(&format!("[{row}]"), *id)?;
            let found = match array.shape[..] {
                [found] | [1, found] => found,
                _ => {
                    return Err(Flaw::foreign(
                        format!("its row {row} has the shape {:?}", array.shape),
                        EXPECTED,
                    ));
                }
            };
            if *dim.get_or_insert(found) != found {
                return Err(Flaw::foreign(
                    format!("its row {row} has {found} numbers, others have more or less"),
                    EXPECTED,
                ));
            }
            values.extend(array.values);
        }
        Ok(Array { shape: vec![rows.len(), dim.unwrap_or(0)], values })
    }
}
