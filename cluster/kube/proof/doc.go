// Package proof tells from metadata alone whether a live object can differ from
// what was applied to it. It asks nobody: a baseline (proof.go) is compared with
// the metadata that a list or a watch brought, and the baselines that exact
// checks found are kept in memory (book.go).
//
// What proves that nothing we set has changed:
//   - the same uid: it is the object that was written;
//   - the same generation, for kinds that keep one that can be trusted (see
//     kinds.KeepsGeneration), or the same resourceVersion for all others:
//     nothing outside metadata and status was written, whoever tried;
//   - the same Meta: labels, annotations, finalizers, owner references and the
//     fields that we own are what they were. A change of these moves no
//     generation.
package proof
