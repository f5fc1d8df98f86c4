// Package forgetest is a GitHub look-alike on loopback: REST, GraphQL, Git over
// HTTP, signed webhooks and a conversation page. Tests, the demo and the replay
// drive it as people do, over HTTP, and the bot sees no difference.
//
// What it stores is in memory, except for the repositories, which are real bare
// Git repositories behind the real git http-backend. Its clock moves one second
// with every write, so that times are strictly ordered at GitHub's granularity
// and the same in every run. Tokens and App JWTs expire by the machine's clock,
// because the clients that renew them look at that one.
//
// A test that wants an answer GitHub would give under stress asks for it with
// Fail; one that wants a lost, doubled or shuffled webhook, with SetDelivery.
// With Options.Validate every answer and every payload is held to GitHub's own
// published schemas.
package forgetest
