//! The dialect-neutral plan of a run: a graph of nodes in scopes.
//!
//! Both languages lower to a [`Plan`] and implement [`Semantics`]; the engine knows nothing else
//! of them. Whatever `Semantics` answers is recorded, so a replay never asks again.
//!
//! Deliberately absent: states (the engine), and what a leaf does (its runner).

mod semantics;

pub use semantics::{
    Cell, FanOut, Group, NeedView, Reason, Resolved, Retry, Semantics, Tally, Verdict, View,
};

use serde::{Deserialize, Serialize};

/// Index of a node in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlanNodeId(pub u32);

impl PlanNodeId {
    /// The root scope.
    pub const ROOT: PlanNodeId = PlanNodeId(0);

    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// A leaf, offered to a runner.
    Work,
    /// A graph of its own.
    Scope,
}

/// A vertex of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanNode {
    /// Its name within its scope: a job id.
    pub key: String,
    /// What it is.
    pub kind: NodeKind,
    /// The scope it belongs to; none for the root.
    pub parent: Option<PlanNodeId>,
    /// Nodes of the same scope that must settle first, in order.
    pub needs: Vec<PlanNodeId>,
    /// Whether it may become several instances.
    pub fans_out: bool,
    /// The nodes of this scope, in order.
    pub children: Vec<PlanNodeId>,
    /// What the dialect knows it by; nothing to the engine.
    pub definition: u32,
}

/// A closed graph: every scope's nodes are in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// All nodes; the first is the root scope.
    pub nodes: Vec<PlanNode>,
}

impl Plan {
    /// A plan with only its root.
    pub fn new(definition: u32) -> Self {
        Plan {
            nodes: vec![PlanNode {
                key: String::new(),
                kind: NodeKind::Scope,
                parent: None,
                needs: Vec::new(),
                fans_out: false,
                children: Vec::new(),
                definition,
            }],
        }
    }

    /// Adds a node to a scope.
    pub fn add(
        &mut self,
        parent: PlanNodeId,
        key: impl Into<String>,
        kind: NodeKind,
        fans_out: bool,
        definition: u32,
    ) -> PlanNodeId {
        let id = PlanNodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(PlanNode {
            key: key.into(),
            kind,
            parent: Some(parent),
            needs: Vec::new(),
            fans_out,
            children: Vec::new(),
            definition,
        });
        self.nodes[parent.index()].children.push(id);
        id
    }

    /// A node.
    pub fn node(&self, id: PlanNodeId) -> &PlanNode {
        &self.nodes[id.index()]
    }

    /// Whether the graph is one that the engine can run: needs within one scope, no circles,
    /// leaves without children. The message names the node.
    pub fn validate(&self) -> Result<(), String> {
        for (i, node) in self.nodes.iter().enumerate() {
            if node.kind == NodeKind::Work && !node.children.is_empty() {
                return Err(format!("the leaf '{}' has children", node.key));
            }
            if (i == 0) != node.parent.is_none() {
                return Err(format!("the node '{}' belongs to no scope", node.key));
            }
            for need in &node.needs {
                if self.nodes.get(need.index()).map(|n| n.parent) != Some(node.parent) {
                    return Err(format!("'{}' needs a node of another scope", node.key));
                }
            }
        }
        for scope in self.nodes.iter().filter(|n| n.kind == NodeKind::Scope) {
            let mut done: Vec<PlanNodeId> = Vec::new();
            while done.len() < scope.children.len() {
                let before = done.len();
                for child in &scope.children {
                    if !done.contains(child)
                        && self.node(*child).needs.iter().all(|n| done.contains(n))
                    {
                        done.push(*child);
                    }
                }
                if done.len() == before {
                    return Err(format!("the needs of the scope '{}' go in a circle", scope.key));
                }
            }
        }
        Ok(())
    }

    /// The plan as text, one node a line: the snapshot format.
    pub fn dump(&self) -> String {
        let mut out = String::new();
        self.dump_scope(PlanNodeId::ROOT, 0, &mut out);
        out
    }

    fn dump_scope(&self, scope: PlanNodeId, depth: usize, out: &mut String) {
        for child in &self.node(scope).children {
            let node = self.node(*child);
            let needs: Vec<&str> = node.needs.iter().map(|n| self.node(*n).key.as_str()).collect();
            out.push_str(&"  ".repeat(depth));
            out.push_str(&node.key);
            if node.fans_out {
                out.push_str(" *");
            }
            if !needs.is_empty() {
                out.push_str(&format!(" <- {}", needs.join(", ")));
            }
            out.push('\n');
            if node.kind == NodeKind::Scope {
                self.dump_scope(*child, depth + 1, out);
            }
        }
    }
}
