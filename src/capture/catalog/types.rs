//! What a type's id means.

use std::collections::HashMap;

use crate::oid::Oid;

/// Types by id, as read from the server: those of captured columns and whatever they are made of.
#[derive(Clone, Debug, Default)]
pub struct TypeCatalog {
    types: HashMap<Oid, TypeFacts>,
}

/// One type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeFacts {
    /// The type.
    pub oid: Oid,
    /// Its schema.
    pub namespace: String,
    /// Its name, as `pg_type` has it.
    pub name: String,
    /// What kind it is.
    pub kind: TypeKind,
}

/// Kind of a type, with what can be followed from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeKind {
    /// Built in or of an extension.
    Base,
    /// An array.
    Array {
        /// Of these.
        element: Oid,
    },
    /// A domain.
    Domain {
        /// Over this type.
        base: Oid,
        /// With this modifier; -1 without one.
        type_modifier: i32,
    },
    /// An enumeration.
    Enum {
        /// Its labels, in their order.
        labels: Vec<String>,
    },
    /// A row type, a range, a multirange, a pseudo-type: nothing that the envelope looks into.
    Other,
}

impl TypeCatalog {
    /// Adds types, replacing what was known of them.
    pub fn extend(&mut self, types: impl IntoIterator<Item = TypeFacts>) {
        self.types.extend(types.into_iter().map(|facts| (facts.oid, facts)));
    }

    /// The type, if it has been read.
    pub fn get(&self, oid: Oid) -> Option<&TypeFacts> {
        self.types.get(&oid)
    }

    /// Whether the type is an enumeration.
    pub fn is_enum(&self, oid: Oid) -> bool {
        matches!(self.get(oid).map(|facts| &facts.kind), Some(TypeKind::Enum { .. }))
    }

    /// Follows a column's type through its domains to the type below them; the modifier is that of
    /// the outermost that has one.
    pub fn resolve(&self, mut oid: Oid, mut type_modifier: i32) -> (Oid, i32) {
        // The server does not allow a domain over itself, so the chain ends; the bound is for bytes
        // that are not the server's.
        for _ in 0..64 {
            match self.types.get(&oid).map(|facts| &facts.kind) {
                Some(TypeKind::Domain { base, type_modifier: modifier }) => {
                    oid = *base;
                    if type_modifier == -1 {
                        type_modifier = *modifier;
                    }
                }
                _ => break,
            }
        }
        (oid, type_modifier)
    }
}
