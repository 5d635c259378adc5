//! The job graph: as a tree of what waits for what, or for a drawing program.

use trainyard_engine::{NodeState, RunState, apply};
use trainyard_plan::{NodeKind, Plan, PlanNodeId};
use trainyard_store::Journal;

use super::{Whole, head, status};
use crate::error::{Error, Result};
use crate::paths::data_dir;

/// How a graph is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Drawing {
    /// Each job below the one it waits for longest
    Tree,
    /// For Mermaid, as Markdown shows it
    Mermaid,
    /// For Graphviz
    Dot,
}

fn state_of(journal: &Journal, run: i64) -> Result<RunState> {
    let mut state = RunState::empty();
    for record in journal.records(run)? {
        let record = serde_json::from_str(&record)
            .map_err(|e| Error::new(format!("a record of run {run} cannot be read: {e}")))?;
        apply(&mut state, &record);
    }
    Ok(state)
}

/// The graph of a run, with how its jobs stand; as a tree with the graphs of the runs that its jobs began.
pub(super) fn of_run(whole: &Whole, drawing: Drawing) -> Result<()> {
    let journal = Journal::open(&data_dir()?)?;
    let state = state_of(&journal, whole.row.id)?;
    if drawing == Drawing::Tree {
        head(whole, None);
    }
    outln!("{}", draw(state.plan(), drawing, &|node| standing(&state, node)).trim_end());
    for child in whole.children.iter().filter(|_| drawing == Drawing::Tree) {
        let by = whole.jobs.iter().find(|j| child.is_of(j)).map_or("", |j| j.name.as_str());
        outln!("\n{by} ↳ run {} · {}: {}", child.row.id, child.row.workflow, status(&child.row));
        let state = state_of(&journal, child.row.id)?;
        let drawn = draw(state.plan(), drawing, &|node| standing(&state, node));
        drawn.lines().for_each(|line| outln!("    {line}"));
    }
    Ok(())
}

/// How a plan node stands in a run: its instance outside of legs, with the number of those.
fn standing(state: &RunState, node: PlanNodeId) -> String {
    let mut found = state.instances().filter(|(_, i)| i.plan == node && !i.superseded);
    let Some((_, instance)) = found.next() else { return "never reached".into() };
    let legs = found.filter(|(_, i)| i.leg.is_some()).count();
    let legs = if legs > 0 { format!(", {legs} legs") } else { String::new() };
    let word = match &instance.state {
        NodeState::Blocked { .. } => "waits for its needs",
        NodeState::Waiting { .. } => "waits for its group or its turn",
        NodeState::Active { .. } | NodeState::Open(_) => "runs",
        NodeState::Backoff { .. } => "waits to be tried again",
        NodeState::Settled(settled) => settled.outcome.as_str(),
    };
    format!("{word}{legs}")
}

/// The plan as text. `say` gives what stands behind a node's name, or nothing.
pub fn draw(plan: &Plan, drawing: Drawing, say: &dyn Fn(PlanNodeId) -> String) -> String {
    let mut out = String::new();
    match drawing {
        Drawing::Tree => scope_tree(plan, PlanNodeId::ROOT, "", say, &mut out),
        Drawing::Mermaid => {
            out.push_str("graph LR\n");
            for (number, _) in plan.nodes.iter().enumerate().skip(1) {
                let own = path(plan, PlanNodeId(u32::try_from(number).unwrap_or(0)));
                out.push_str(&format!("  n{number}[\"{own}\"]\n"));
            }
            arrows(plan, &|from, to| format!("  n{} --> n{}\n", from.0, to.0), &mut out);
        }
        Drawing::Dot => {
            out.push_str("digraph run {\n  rankdir = LR;\n");
            for (number, _) in plan.nodes.iter().enumerate().skip(1) {
                let own = path(plan, PlanNodeId(u32::try_from(number).unwrap_or(0)));
                out.push_str(&format!("  n{number} [label=\"{own}\"];\n"));
            }
            arrows(plan, &|from, to| format!("  n{} -> n{};\n", from.0, to.0), &mut out);
            out.push_str("}\n");
        }
    }
    out
}

/// `deploy/build`: keys from the root down.
fn path(plan: &Plan, node: PlanNodeId) -> String {
    let mut keys = Vec::new();
    let mut at = Some(node);
    while let Some(current) = at.filter(|n| *n != PlanNodeId::ROOT) {
        keys.push(plan.node(current).key.as_str());
        at = plan.node(current).parent;
    }
    keys.reverse();
    keys.join("/")
}

/// What waits for what; the nodes of a called workflow without needs wait for the call.
fn arrows(plan: &Plan, arrow: &dyn Fn(PlanNodeId, PlanNodeId) -> String, out: &mut String) {
    for (number, node) in (0u32..).zip(&plan.nodes).skip(1) {
        let own = PlanNodeId(number);
        for need in &node.needs {
            out.push_str(&arrow(*need, own));
        }
        let parent = node.parent.filter(|p| *p != PlanNodeId::ROOT && node.needs.is_empty());
        if let Some(parent) = parent {
            out.push_str(&arrow(parent, own));
        }
    }
}

/// How many needs deep a node lies in its scope.
fn depths(plan: &Plan, scope: PlanNodeId) -> Vec<(PlanNodeId, usize)> {
    let mut depths: Vec<(PlanNodeId, usize)> = Vec::new();
    let children = &plan.node(scope).children;
    while depths.len() < children.len() {
        let before = depths.len();
        for child in children {
            let of = |n: &PlanNodeId| depths.iter().find(|(id, _)| id == n).map(|(_, d)| *d);
            let needs: Option<Vec<usize>> = plan.node(*child).needs.iter().map(of).collect();
            if let (None, Some(needs)) = (of(child), needs) {
                depths.push((*child, needs.into_iter().map(|d| d + 1).max().unwrap_or(0)));
            }
        }
        // A plan has no circles; one that had would end here.
        if depths.len() == before {
            break;
        }
    }
    depths
}

fn scope_tree(
    plan: &Plan,
    scope: PlanNodeId,
    indent: &str,
    say: &dyn Fn(PlanNodeId) -> String,
    out: &mut String,
) {
    let depths = depths(plan, scope);
    let depth = |id: &PlanNodeId| depths.iter().find(|(n, _)| n == id).map_or(0, |(_, d)| *d);
    let above = |id: PlanNodeId| {
        plan.node(id).needs.iter().copied().max_by_key(|n| (depth(n), std::cmp::Reverse(n.0)))
    };
    let roots: Vec<PlanNodeId> =
        plan.node(scope).children.iter().copied().filter(|c| above(*c).is_none()).collect();
    let below = |id: PlanNodeId| -> Vec<PlanNodeId> {
        plan.node(scope).children.iter().copied().filter(|c| above(*c) == Some(id)).collect()
    };
    for (number, root) in roots.iter().enumerate() {
        let last = number + 1 == roots.len();
        let sign = if scope == PlanNodeId::ROOT { ("", "") } else { branch(last) };
        subtree(plan, *root, (indent, sign), &below, say, out);
    }
}

fn branch(last: bool) -> (&'static str, &'static str) {
    if last { ("└─ ", "   ") } else { ("├─ ", "│  ") }
}

fn subtree(
    plan: &Plan,
    node: PlanNodeId,
    (indent, (sign, rest)): (&str, (&str, &str)),
    below: &dyn Fn(PlanNodeId) -> Vec<PlanNodeId>,
    say: &dyn Fn(PlanNodeId) -> String,
    out: &mut String,
) {
    let definition = plan.node(node);
    let also: Vec<&str> = definition.needs.iter().map(|n| plan.node(*n).key.as_str()).collect();
    let also = match also.len() {
        0 | 1 => String::new(),
        _ => format!("  (needs {})", also.join(", ")),
    };
    let many = if definition.fans_out { " ×" } else { "" };
    let said = say(node);
    let said = if said.is_empty() { said } else { format!("  {said}") };
    out.push_str(&format!("{indent}{sign}{}{many}{said}{also}\n", definition.key));
    let inner = format!("{indent}{rest}");
    let next = below(node);
    if definition.kind == NodeKind::Scope {
        let line = if next.is_empty() { "  ┆ " } else { "│ ┆ " };
        scope_tree(plan, node, &format!("{inner}{line}"), say, out);
    }
    for (number, child) in next.iter().enumerate() {
        let last = number + 1 == next.len();
        subtree(plan, *child, (&inner, branch(last)), below, say, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diamond_with_a_call_and_a_matrix() {
        let mut plan = Plan::new(0);
        let lint = plan.add(PlanNodeId::ROOT, "lint", NodeKind::Work, false, 0);
        let test = plan.add(PlanNodeId::ROOT, "test", NodeKind::Work, true, 0);
        let call = plan.add(PlanNodeId::ROOT, "deploy", NodeKind::Scope, false, 0);
        let build = plan.add(call, "build", NodeKind::Work, false, 0);
        let push = plan.add(call, "push", NodeKind::Work, false, 0);
        let _ = plan.add(PlanNodeId::ROOT, "docs", NodeKind::Work, false, 0);
        plan.nodes[test.index()].needs.push(lint);
        plan.nodes[push.index()].needs.push(build);
        plan.nodes[call.index()].needs.extend([lint, test]);
        let say = |node: PlanNodeId| if node == test { "success".into() } else { String::new() };
        let tree = draw(&plan, Drawing::Tree, &say);
        assert_eq!(
            tree,
            "lint\n└─ test ×  success\n   └─ deploy  (needs lint, test)\n        ┆ └─ build\n        ┆    └─ push\ndocs\n"
        );
        let mermaid = draw(&plan, Drawing::Mermaid, &say);
        assert_eq!(
            mermaid,
            "graph LR\n  n1[\"lint\"]\n  n2[\"test\"]\n  n3[\"deploy\"]\n  n4[\"deploy/build\"]\n  n5[\"deploy/push\"]\n  n6[\"docs\"]\n  n1 --> n2\n  n1 --> n3\n  n2 --> n3\n  n3 --> n4\n  n4 --> n5\n"
        );
        assert!(draw(&plan, Drawing::Dot, &say).starts_with("digraph run {"));
    }
}
