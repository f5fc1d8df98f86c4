// Package client is the connection to one API server: it bounds how many
// requests are under way and how long each may take, counts them, collects the
// server's warnings, and puts errors in people's words.
package client
