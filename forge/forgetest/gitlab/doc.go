// Package gitlab is a GitLab look-alike on loopback: REST, some GraphQL, Git over
// HTTP, webhooks and a conversation page. Tests and the demo drive it as people do,
// over HTTP, and the bot sees no difference.
//
// What it stores is in memory, except for the repositories, which are real bare
// Git repositories behind the real git http-backend. Its clock moves a second with
// every write, so that times are strictly ordered. Its answers are held to the
// types of GitLab's own Go client and to the examples of GitLab's documentation;
// how it behaves follows GitLab's source, whose classes are named where it is not
// plain.
package gitlab
