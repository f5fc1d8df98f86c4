// Package bot is lockkeeper itself: it looks at a pull request, decides what to
// do about it, and does it. This is the tour of the code.
//
// A webhook (bot/web) only says which pull to look at; the store (bot/store)
// keeps that until it is done. For each such pull, [Bot.Reconcile]
//
//  1. gathers a [reconcile.State] from the forge, from Git objects and from the
//     store (gather.go), whatever the webhook said;
//  2. asks [reconcile.Decide], which is pure, for the next actions;
//  3. runs them (run.go; applying is in apply.go, behind the gate in gate.go);
//  4. and asks again, until there is nothing left to do.
//
// What is said or pushed while that takes its time is heeded by the run itself
// (cancel.go): /cancel stops an apply, a newer push a plan.
//
// What is decided is in bot/reconcile, what is done about it here; how pulls and
// leases are called is bot/names'. What is said to people is a view of the state,
// written by bot/report and put on the forge by bot/talk. What lost webhooks would
// have told, bot/sweep finds; which repositories there are, and whether they can be
// reached, bot/repositories keeps. What Git knows of a
// pull, the trees to compare among it, is read by bot/history; what a change of
// trees means for clusters is bot/plan's. Who has to agree is bot/policy's,
// which is pure as well; what it judges beside the plan, bot/evidence reads. What
// an operation did is put into words by bot/outcome. What a piece of work is about
// travels in its context, for the logs (bot/trail).
//
// Base branches are watched too (bot/bypass): a commit that no merged pull
// brought came past the gate. It is recorded, and an issue of the repository
// reports it. Until what it did is undone, a plan that would bring it to a
// cluster needs the approval of somebody who did not push it.
//
// So are clusters (bot/drift): where live objects are no longer as they were
// applied, a pull of the bot's own proposes to make Git say so, an issue tells
// what cannot be written to Git, or what was applied is put back through the
// gate (heal.go). A look compares by metadata what it can, and by value the rest.
// What a pull did is undone by another one, which bot/rollback opens.
//
// # Invariants
//
//  1. What was approved is what is applied: gate plans again under the leases
//     and passes only changes that were published, and approved, by digest.
//  2. One gate: carryOut is the only caller of [cluster.Cluster].Apply, and
//     takes a permit, which only gate makes: for pulls, their restores and
//     rollbacks, and for heals, which no pull asks for.
//  3. Policy and approvers come from the base branch and the operator's file.
//  4. The forge is re-read: events carry no state.
//  5. Planning writes nothing.
//  6. No secret value leaves a cluster: plans arrive masked.
//  7. The intent to apply is stored before a cluster is touched; what a crash
//     cut short is resumed, through the gate.
//  8. Every refusal lists its reasons.
//  9. An error is never read as "no change": a target that cannot be planned is
//     a problem of the plan.
//  10. A target stays in its fence, which cluster.Fence checks before any request.
package bot
