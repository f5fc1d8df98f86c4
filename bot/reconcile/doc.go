// Package reconcile decides what to do next about a pull request. It does no
// I/O and knows no clock: package bot gathers a [State], asks [Decide], carries
// out the [Action]s and asks again, until there is nothing left to do.
//
// What is looked at is in state.go, and what of it only the bot itself knows, and
// stores, in memory.go. The next step is in decide.go; what a chat command leads
// to is in answers.go. What people are told of a state is its view (view.go),
// which bot/report writes.
package reconcile
