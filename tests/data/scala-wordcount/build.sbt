// A small Spark program in Scala. `sbt package` on a node of the cluster, then:
//   spark-submit target/scala-2.13/wordcount_2.13-1.0.jar INPUT OUTPUT
name := "wordcount"
version := "1.0"

// Spark's own jars and Spark's own Scala: what it is compiled against is what it runs on, and nothing is downloaded.
val spark = file(sys.env.getOrElse("SPARK_HOME", "/opt/spark"))
scalaVersion := {
  val Library = """scala-library-(.+)\.jar""".r
  IO.listFiles(spark / "jars").map(_.getName).collectFirst { case Library(version) => version }.get
}
Compile / unmanagedJars ++= ((spark / "jars") * "*.jar").classpath
