# Print the targets that have a description, group by group.
#
#   ##@ Group             begins a group in a makefile, and holds until the next marker of that file
#   target: needs ## text is a target of that group
#
# order    the groups' titles in the order in which to print them, joined by "|"; other groups follow
# bold, plain    escape codes around a name; both empty where the output isn't a terminal
FNR == 1 { group = "Other" }

/^##@ / { group = substr($0, 5) }

/^[a-zA-Z0-9_.-]+:.*## / {
  name = $0
  sub(/:.*/, "", name)
  text = $0
  sub(/^[^#]*## /, "", text)
  if (!(group in members)) order = order "|" group
  members[group] = members[group] sprintf("  %s%-24s%s %s\n", bold, name, plain, text)
}

END {
  count = split(order, titles, "|")
  for (place = 1; place <= count; place++) {
    title = titles[place]
    if (!(title in members) || title in printed) continue
    printed[title] = 1
    printf "%s%s%s%s\n%s", separator, bold, title, plain, members[title]
    separator = "\n"
  }
}
